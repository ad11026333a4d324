//! A Dynamo/Voldemort-style key-value store: versions and storage.
