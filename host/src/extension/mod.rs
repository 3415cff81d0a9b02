//! Components, loaded with the grant that they run under.
