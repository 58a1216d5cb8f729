"""What is planned of a DestinationRule's pools and outlier detection."""

import pytest

from lateen.config.kinds.istio.traffic_policy import OutlierDetection
from lateen.plan.pools import panic_percent


@pytest.mark.parametrize(
    ("said", "has_far_endpoints", "expected"),
    [(None, False, 0.0), (OutlierDetection(min_health_percent=40), False, 40.0), (OutlierDetection(min_health_percent=40), True, 0.0)],
)
def test_unhealthy_endpoints_are_used_when_too_few_are_healthy_unless_there_are_others_far_off(said, has_far_endpoints, expected):
    assert panic_percent(said, has_far_endpoints=has_far_endpoints) == expected
