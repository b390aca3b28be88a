"""One lock for imports that happen late, on whichever thread needs them first.

Python breaks a deadlock between two threads that import parts of one circle by handing one of them a module that is not
finished; a resource then fails by an ImportError that never comes again.
"""

from __future__ import annotations

import threading

ONE_AT_A_TIME = threading.RLock()
