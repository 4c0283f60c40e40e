"""`python -m comface` is `comface`; `torchrun … -m comface pretrain …` uses it."""

import sys

from comface.cli import main

sys.exit(main())
