//! Admission rules: who decided and who asked are stamped and checked by the server, never claimed.
