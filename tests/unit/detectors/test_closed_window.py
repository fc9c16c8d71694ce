"""What a closed window says of itself."""

from decimal import Decimal

from tests.unit.detectors.windows import make_window


def test_rates_and_sums() -> None:
    window = make_window(
        20, requests=40, errors=2, aborted=4, output_tokens=500, cost_nano_usd=1_234_567_891
    )
    assert window.error_rate == 0.05
    assert window.abort_rate == 0.1
    assert window.requests_per_s == 4
    assert window.output_tokens_per_s_total == 50
    assert window.cost_usd == Decimal("1.234567891")


def test_nothing_to_divide_by_is_unknown() -> None:
    window = make_window(20)
    assert window.error_rate is None
    assert window.abort_rate is None
    assert window.requests_per_s == 0
    assert window.cost_usd is None
    assert window.p("ttft_s", 0.95) is None


def test_cost_without_a_known_price_is_unknown_and_a_free_request_costs_zero() -> None:
    assert make_window(20, requests=3, cost_unknown=3).cost_usd is None
    assert make_window(20, requests=3, cost_unknown=2).cost_usd == 0


def test_quantile_of_a_sketched_quantity() -> None:
    window = make_window(20, requests=3, sketches={"e2e_s": [1, 2, 3]})
    median = window.p("e2e_s", 0.5)
    assert median is not None
    assert abs(median - 2) <= 0.01
