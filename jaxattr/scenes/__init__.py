"""Images drawn from code whose every part is known: classes, masks, backgrounds and defects."""

from jaxattr.scenes.backgrounds import BACKGROUNDS as BACKGROUNDS
from jaxattr.scenes.batches import Batch as Batch
from jaxattr.scenes.batches import batch as batch
from jaxattr.scenes.batches import exchange as exchange
from jaxattr.scenes.batches import target as target
from jaxattr.scenes.classes import CLASSES as CLASSES
from jaxattr.scenes.classes import PAIRS as PAIRS
from jaxattr.scenes.classes import twin as twin
from jaxattr.scenes.folder import Mislabelled as Mislabelled
from jaxattr.scenes.folder import Truth as Truth
from jaxattr.scenes.folder import plant as plant
from jaxattr.scenes.folder import write_folder as write_folder
from jaxattr.scenes.scene import Plan as Plan
from jaxattr.scenes.scene import Scene as Scene
from jaxattr.scenes.scene import draw as draw
from jaxattr.scenes.scene import plan as plan
from jaxattr.scenes.scene import render as render
