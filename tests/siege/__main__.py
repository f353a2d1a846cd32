"""Command line of the siege; see the package's docstring."""

import sys

from .runner import main

sys.exit(main())
