"""What a scrape brings is counted by hand."""

import gzip

from benchmarks.series import Scraped, dcgm, kube_state_metrics, of_server

PAGE = b"""# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} 7.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{engine="0"} 1.0
"""


def test_samples_count_and_comments_do_not() -> None:
    """Two samples in all the bytes of the page, of which the tokens are needed."""
    scraped = of_server("vllm", PAGE)

    assert (scraped.series, scraped.needed, scraped.plain) == (2, 1, len(PAGE))
    assert scraped.gzip == len(gzip.compress(PAGE, 6, mtime=0))


def test_pages_add_up() -> None:
    """By each figure."""
    assert Scraped(1, 2, 3, 4) + Scraped(10, 20, 30, 40) == Scraped(11, 22, 33, 44)


def test_dcgm_exporter_has_its_fields_for_each_gpu() -> None:
    """25 fields of 8 GPUs, of which utilization, memory and energy are needed."""
    assert (dcgm().series, dcgm().needed) == (200, 24)


def test_kube_state_metrics_has_four_series_of_a_pod() -> None:
    """And two of the node: 2 + 4 x 8."""
    assert (kube_state_metrics().series, kube_state_metrics().needed) == (34, 34)
