"""A real LiteLLM proxy on loopback, before a server whose model is `tiny`."""

import http.client
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.daemon import ROOT, Page, get
from tests.e2e.engine import EngineServer
from tests.e2e.llama import LETTERS

HERE = Path(__file__).parent
PROGRAM = ROOT / ".cache" / "litellm" / "bin" / "litellm"
UNSERVED = "http://127.0.0.1:9/v1"


class Proxy(EngineServer):
    """Its metrics want a key, as all else does. Its model `chat` is the server, `gone` leads nowhere.

    `settings` are more of `litellm_settings`.
    """

    start_seconds = 300  # it imports for ten seconds, and for longer on a busy machine

    def __init__(self, folder: Path, server: EngineServer, **settings: Any) -> None:
        super().__init__(folder / "litellm.log")
        self.url = f"http://127.0.0.1:{self.port}/metrics/"
        self.config = folder / "litellm.json"
        shutil.copy(HERE / "teams.py", folder / "teams.py")
        extra = {"grammar": LETTERS, "ignore_eos": True}
        api = {"api_key": "none", "extra_body": extra}
        served = {"model": "hosted_vllm/tiny", "api_base": f"http://127.0.0.1:{server.port}/v1", **api}
        gone = {"model": "hosted_vllm/gone", "api_base": UNSERVED, **api}
        config = {
            "model_list": [
                {"model_name": "chat", "litellm_params": served, "model_info": {"id": "deployment-1"}},
                {"model_name": "gone", "litellm_params": gone, "model_info": {"id": "deployment-2"}},
            ],
            "litellm_settings": {"callbacks": ["prometheus"], "num_retries": 0, **settings},
            "general_settings": {"custom_auth": "teams.admit"},
        }
        self.config.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML

    def command(self) -> list[str]:
        return [
            *(str(PROGRAM), "--config", str(self.config), "--telemetry", "False"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]

    def environment(self) -> dict[str, str]:
        return {
            "LITELLM_MASTER_KEY": secrets.token_hex(),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the other one is asked for elsewhere
            "DISABLE_ADMIN_UI": "True",
        }

    def count(self, page: Page) -> dict[str, int]:
        raise NotImplementedError

    def running(self, page: Page) -> float:
        return page.value("litellm_in_flight_requests")

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
        try:
            return get(self.port, "/health/liveliness")[0] == http.client.OK
        except OSError:
            return False

    def page(self) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics/", headers={"Authorization": "Bearer sk-of-nobody"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == http.client.OK, body
        return Page(body, 0)

    def request(self, key: str, text: str, tokens: int, model: str = "chat", **more: Any) -> tuple[int, Any]:
        """One conversation: the status, and the usage that the answer tells, `None` where it tells none."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, **more}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        body_text = answer.read().decode()
        connection.close()
        lines = body_text.removeprefix("data:").split("\ndata:") if body.get("stream") else [body_text]
        usages = [
            document["usage"]
            for document in map(_document, lines)
            if isinstance(document, dict) and document.get("usage")
        ]
        return answer.status, usages[-1] if usages else None


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # the word that ends a stream, or the page of a fault
        return None
