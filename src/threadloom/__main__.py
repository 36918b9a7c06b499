"""`python -m threadloom` is the command `threadloom`."""

import sys

from threadloom.cli import main

sys.exit(main())
