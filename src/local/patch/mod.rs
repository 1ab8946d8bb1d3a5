//! The patch formats: JSON Patch, JSON Merge Patch and strategic merge.
