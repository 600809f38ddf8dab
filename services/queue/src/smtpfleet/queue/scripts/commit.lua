-- Commits messages, each whole or not at all. KEYS[1] tag. ARGV: home count, then per message as commit_message reads them.
-- Returns one verdict per message.
local tag, home, now = KEYS[1], ARGV[1], now_ms()
local agenda, counts, verdicts = new_agenda(), new_counts(), {}
local i = 3
for m = 1, tonumber(ARGV[2]) do
  verdicts[m], i = commit_message(tag, i, now, home, agenda, counts)
end
write_agenda(tag, agenda)
write_counts(tag, counts)
return verdicts
