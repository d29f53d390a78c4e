//! A bounded queue for many producers and many consumers; each message goes to one consumer.
