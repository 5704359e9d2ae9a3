"""What surrounds a service: the server, who may call it, its log, its metrics, its health."""

from painterly.serving.listening import Listener, listener_of
from painterly.serving.shell import Server, serve_until_signal

__all__ = ["Listener", "Server", "listener_of", "serve_until_signal"]
