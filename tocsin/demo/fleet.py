"""The simulated fleet as a process of the demo's stack."""

from __future__ import annotations

import sys
from typing import Final

import httpx
import orjson

from serving.fleet.profile import FleetProfile
from tocsin.embedded.child import Child
from tocsin.embedded.ports import LOOPBACK, choose_port
from tocsin.embedded.stack import Stack

__all__ = ["FleetProcess"]

_ADMIN_TIMEOUT_S: Final = 5


class FleetProcess:
    """Starts the fleet beside a stack, and breaks a provider when asked to."""

    def __init__(
        self, stack: Stack, profile: FleetProfile, judge_port: int, admin_token: str
    ) -> None:
        self._stack = stack
        self._profile = profile
        self._judge_port = judge_port
        self._token = admin_token
        self._ports = {name: choose_port(name, 0, "") for name in profile.providers}

    @property
    def urls(self) -> dict[str, str]:
        """Return each provider's base URL."""
        return {name: f"http://{LOOPBACK}:{port}/v1" for name, port in self._ports.items()}

    def start(self) -> None:
        """Start the process and wait until every server answers.

        Raises:
            PartFailedError: it ended or did not answer in time.
        """
        data_dir = self._stack.settings.data_dir
        profile = data_dir / "fleet.json"
        profile.write_bytes(orjson.dumps(self._profile.model_dump(mode="json")))
        token = data_dir / "fleet-admin-token"
        token.touch(mode=0o600)
        token.write_text(self._token)
        command = [sys.executable, "-m", "serving.fleet", "--profile", str(profile)]
        for name, port in self._ports.items():
            command += ["--port", f"{name}={port}"]
        command += ["--judge-port", str(self._judge_port), "--admin-token-file", str(token)]
        log = data_dir / "logs" / "fleet.log"
        child = self._stack.run(Child("fleet", command, log, self._stack.environment))
        child.wait_until(self._answers)

    async def outage(self, provider: str) -> None:
        """Let a provider answer 503 to everything from now on."""
        base = self.urls[provider].removesuffix("/v1")
        async with httpx.AsyncClient(trust_env=False, timeout=_ADMIN_TIMEOUT_S) as client:
            response = await client.put(
                f"{base}/admin/faults/*",
                json={"outage": True},
                headers={"authorization": f"Bearer {self._token}"},
            )
            response.raise_for_status()

    def _answers(self) -> bool:
        try:
            return all(
                httpx.get(f"{url}/models", timeout=2, trust_env=False).is_success
                for url in self.urls.values()
            )
        except httpx.TransportError:
            return False
