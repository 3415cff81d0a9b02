//! What an extension may do: pure judgement, no I/O.
