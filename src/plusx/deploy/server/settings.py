"""What the server allows: its address, its limits and its times."""

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that no other machine reaches."""


@dataclass(frozen=True)
class Settings:
    """The defaults hold for one machine and its user; `plusx serve --help` names those that can be set there."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    """What every request has to bring as `Authorization: Bearer ...`; None asks for nothing."""
    queue: int = 256
    """Images that may wait for one model; a request that would make them more is answered with 503."""
    deadline: float = 5.0
    """Seconds after which a request that has not been computed yet is given up, and answered with 503."""
    latency_budget: float = 0.05
    """Seconds that images which are computed together may take; one image of each processor is always computed."""
    body_bytes: int = 32 * 2**20
    """The largest body."""
    body_seconds: float = 30.0
    """The longest time that a body may take to arrive."""
    all_bodies_bytes: int = 256 * 2**20
    """Of all bodies that are held at once."""
    images: int = 64
    """The most images of one request."""
    explanations: int = 8
    """Images that may wait to be explained."""
    explain_seconds: float = 30.0
    """The longest time until one is."""
    connections: int = 512
    """The most that are open at once."""
    idle_seconds: float = 10.0
    """The longest time that the head of a request may take, or an answer to be read."""
    precision: str = "auto"
    """As for `Predictor`."""
    device: str = "auto"
    """As for `Predictor`."""
    trust_code: bool = False
    """As for `load`."""

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOOPBACK
