//! Class 85: publisher confirms.

use super::class;
use super::{Field, FieldReader, FieldWriter, Unread};

class! {
    /// Class 85: publisher confirms.
    Confirm = 85 {
        Select = 10 "confirm.select" [] { nowait: bool } []
        SelectOk = 11 "confirm.select-ok" [] {} []
    }
}
