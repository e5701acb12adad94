"""`python -m deploy` is `firmwatt`."""

import sys

from deploy.cli import main

sys.exit(main())
