# For local.zeek: `@load ./connwatch`. All of this is optional: connwatch follows Zeek as it is.

# Zeek moves a log away when its time is up and begins a new one. connwatch reads the rest of the old
# one where it went (set `archives` to that folder), then the new one: any interval will do.
# With zeekctl, set LogRotationInterval in zeekctl.cfg instead; it takes precedence.
redef Log::default_rotation_interval = 1 hr;

# Both forms can be read. The text form is Zeek's own and the fastest; JSON is what other
# shippers often want. Both have the uid, by which records of one connection are found.
redef LogAscii::use_json = F;
# redef LogAscii::json_timestamps = JSON::TS_EPOCH;

# Compress what is finished (zeekctl does), not what is being written: a live file of compressed
# lines can only be read when it is complete.
redef LogAscii::gzip_level = 0;

# Long connections appear in conn.log when they end. This writes conn_long.log meanwhile, which
# connwatch reads as well (the package zeek-long-connections).
# @load zeek-long-connections
