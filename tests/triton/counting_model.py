"""A model of Triton's Python backend: it is told of tokens, and counts them by the names of the vLLM backend.

Names, kinds and labels are those of triton-inference-server/vllm_backend `src/utils/metrics.py`.
A model of which the name is `plain` counts none.
"""

from typing import Any

import numpy as np
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.families: list[Any] = []  # a family ends with its object, and takes its series along
        self.labels = {"model": args["model_name"], "version": args["model_version"]}
        if args["model_name"] == "plain":
            return
        kind = utils.MetricFamily
        self.prompt = self._made("vllm:prompt_tokens_total", kind.COUNTER)
        self.generation = self._made("vllm:generation_tokens_total", kind.COUNTER)
        self.ended = self._made("vllm:e2e_request_latency_seconds", kind.HISTOGRAM, buckets=[0.3, 0.5])
        for gauge in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
            self._made(gauge, kind.GAUGE).set(0)

    def _made(self, name: str, kind: Any, **more: Any) -> Any:
        family = utils.MetricFamily(name=name, description=name, kind=kind)
        self.families.append(family)
        return family.Metric(labels=self.labels, **more)

    def execute(self, requests: list[Any]) -> list[Any]:
        answers = []
        for request in requests:
            prompt, generation = map(int, utils.get_input_tensor_by_name(request, "TOKENS").as_numpy())
            if self.families:
                self.prompt.increment(prompt)
                self.generation.increment(generation)
                self.ended.observe(0.25)
            total = utils.Tensor("SUM", np.array([prompt + generation], np.int32))
            answers.append(utils.InferenceResponse([total]))
        return answers
