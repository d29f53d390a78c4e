//! The derive macro of allmende's `Payload` trait.
