"""The method 'bulat': Bulat et al. (Pre-training strategies and datasets for facial representation learning, 2022),
trained on faces without labels by SwAV."""

from __future__ import annotations

from comface.methods.published import published
from comface.methods.resnets import SWAV, layout

REPOSITORY = "github.com/1adrianb/unsupervised-face-representation"

METHOD = published(
    "bulat",
    "Bulat et al.",
    [layout("Bulat et al.", SWAV, prefix="base_net.", published=REPOSITORY)],
    ("flr_r50_vgg_face.pth", "flr_r50_vgg_face_1m.pth", "flr_r50_flickr_face.pth"),
)
