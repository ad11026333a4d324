//! A Kafka-style segmented append log in the on-disk format of Apache Kafka.
