"""A simulated LSEG platform: token service, service discovery, and endpoints that take the tokens' logins over TLS.

``core`` decides what is answered, without sockets or clock; ``server`` is HTTPS and WebSockets around it, with a
certificate of its own that is made when it starts.
"""

from contrib_watch.simulator.platform.core import Clients, HttpFault, PlatformScript, SimulatedPlatform
from contrib_watch.simulator.platform.server import Certificates, PlatformServer

__all__ = ["Certificates", "Clients", "HttpFault", "PlatformScript", "PlatformServer", "SimulatedPlatform"]
