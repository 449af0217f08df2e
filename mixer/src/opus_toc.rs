//! opus_toc.
