# The bill of one account, from the lines that `turnpike pull` wrote:
#
#   awk -F, -v account=1001 -f examples/bill.awk lines.csv
#
# Columns are found by their names in the header. Amounts have nine decimals; they are added as whole
# billionths, which awk does exactly up to 9 million.
NR == 1 {
    for (i = 1; i <= NF; i++) column[$i] = i
    next
}
$column["posted_to"] == account && $column["posting"] == "account" {
    amount = $column["amount"]
    negative = sub(/^-/, "", amount)
    sub(/\./, "", amount)
    total += negative ? -amount : amount
    printf "%-4s %-10s %12s %-4s at %-14s %s %s\n", $column["record_id"], $column["component"],
        $column["units"], $column["unit"], $column["price"], $column["amount"], $column["currency"]
    currency = $column["currency"]
}
END {
    printf "total %.2f %s\n", total / 1000000000, currency
}
