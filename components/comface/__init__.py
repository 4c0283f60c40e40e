"""ComFace (Akamatsu et al., WACV 2025): learn from synthetic faces how one person's face changes."""

import os

__version__ = "0.1.0"

# What IPP makes of an image inside OpenCV depends on the processor and on where the image lies in memory: enlarged by
# it, a face was scored .8 years older. OpenCV reads this when it is loaded.
os.environ.setdefault("OPENCV_IPP", "disabled")
