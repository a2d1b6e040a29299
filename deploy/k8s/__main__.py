"""`make manifests`: render the manifests, and say what is wrong with them."""

import sys
from pathlib import Path

from deploy.k8s.manifests import faults

found = faults(Path(__file__).parent / "base")
for fault in found:
    sys.stderr.write(f"manifests: {fault}\n")
sys.exit(bool(found))
