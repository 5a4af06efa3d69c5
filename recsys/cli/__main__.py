"""Let ``python -m recsys.cli`` be the command."""

import sys

from recsys.cli import main

sys.exit(main())
