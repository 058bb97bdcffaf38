//! stub
use super::IdMap;
use crate::error::Result;
/// stub
pub fn write_maps(_pid: i32, _map: &IdMap) -> Result<()> { Ok(()) }
