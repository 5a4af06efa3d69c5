"""Let ``python -m sparsenum`` be the command."""

import sys

from sparsenum.cli import main

sys.exit(main())
