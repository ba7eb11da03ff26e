//! Support of the black-box tests.
