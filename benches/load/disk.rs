//! How often the disk below the databases flushes in a second, which bounds what is durable there.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use crate::Fault;

/// What a commit writes at least.
const PAGE: [u8; 4096] = [7; 4096];
/// After so many the file is written anew from its beginning, as a log is.
const PAGES: u64 = 1000;

/// Flushes in a second, one after the other, of a file in the folder of temporary files, where the
/// databases lie, too.
pub(crate) fn flushes_per_second(span: Duration) -> Result<f64, Fault> {
    let mut file: File = tempfile::tempfile()?;
    let begun = Instant::now();
    let mut flushes = 0;
    while begun.elapsed() < span {
        if flushes % PAGES == 0 {
            file.seek(SeekFrom::Start(0))?;
        }
        file.write_all(&PAGE)?;
        file.sync_data()?;
        flushes += 1;
    }
    Ok(flushes as f64 / begun.elapsed().as_secs_f64())
}
