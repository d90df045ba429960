"""The ledger: what the audit has seen of every image, in Parquet shards that are written once.

Reading, writing and the arithmetic on its columns; nothing here asks the model.
"""

from jaxattr.audit.ledger.ledger import FORMAT as FORMAT
from jaxattr.audit.ledger.ledger import MAPS as MAPS
from jaxattr.audit.ledger.ledger import Columns as Columns
from jaxattr.audit.ledger.ledger import Ledger as Ledger
from jaxattr.audit.ledger.ledger import LedgerView as LedgerView
from jaxattr.audit.ledger.ledger import Receipt as Receipt
from jaxattr.audit.ledger.ledger import earlier_folder as earlier_folder
from jaxattr.audit.ledger.ledger import explained as explained
from jaxattr.audit.ledger.ledger import open_ledger as open_ledger
from jaxattr.audit.ledger.ledger import pack as pack
from jaxattr.audit.ledger.ledger import pack_classes as pack_classes
from jaxattr.audit.ledger.ledger import read_ledger as read_ledger
from jaxattr.audit.ledger.ledger import read_shard as read_shard
from jaxattr.audit.ledger.ledger import schema as schema
from jaxattr.audit.ledger.ledger import seen_folder as seen_folder
from jaxattr.audit.ledger.ledger import set_aside as set_aside
from jaxattr.audit.ledger.ledger import unpack as unpack
