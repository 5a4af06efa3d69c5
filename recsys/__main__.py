"""Let ``python -m recsys`` be the command."""

import sys

from recsys.cli import main

sys.exit(main())
