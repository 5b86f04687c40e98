"""``python -m sumi``, which `torchrun -m sumi` needs: the command line."""

import sys

from sumi.cli.main import main

sys.exit(main())
