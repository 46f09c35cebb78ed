//! What is remembered, and when it may be answered from.

use super::*;
