//! What holds for any sequence of inputs.
