//! The witness service (MS-SWN): tells clients at once that their node died or that they should move.
