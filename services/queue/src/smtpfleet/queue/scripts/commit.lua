-- Commits messages, each whole or not at all. KEYS[1] tag. ARGV: now home count, then per message as commit_message reads them.
-- Returns one verdict per message.
local tag, now, home = KEYS[1], ARGV[1], ARGV[2]
local agenda, counts, verdicts = new_agenda(), new_counts(), {}
local i = 4
for m = 1, tonumber(ARGV[3]) do
  verdicts[m], i = commit_message(tag, i, now, home, agenda, counts)
end
write_agenda(tag, agenda)
write_counts(tag, counts)
return verdicts
