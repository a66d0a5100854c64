//! Class 90: transactions.

use super::class;
use super::{FieldReader, FieldWriter, Unread};

class! {
    /// Class 90: transactions.
    Tx = 90 {
        Select = 10 "tx.select" [] {} []
        SelectOk = 11 "tx.select-ok" [] {} []
        Commit = 20 "tx.commit" [] {} []
        CommitOk = 21 "tx.commit-ok" [] {} []
        Rollback = 30 "tx.rollback" [] {} []
        RollbackOk = 31 "tx.rollback-ok" [] {} []
    }
}
