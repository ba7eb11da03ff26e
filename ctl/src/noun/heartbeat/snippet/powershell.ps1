# Tells the heartbeat {{NAME}} of a job: the start, the exit code, the end of the output. PowerShell 7.
$PingUrl = {{PING_URL}}
$RunId = [guid]::NewGuid()

# A heartbeat that cannot be told must not fail the job.
function Send-Report([string] $Report, [string] $Body = '') {
    try {
        $Tail = $Body.Substring([Math]::Max(0, $Body.Length - 9000))
        Invoke-RestMethod -Method Post -Uri "$PingUrl/${Report}?rid=$RunId" -Body $Tail `
            -ContentType 'text/plain; charset=utf-8' -TimeoutSec 10 -MaximumRetryCount 5 -RetryIntervalSec 5 | Out-Null
    } catch {
        Write-Warning "heartbeat: $($_.Exception.Response.StatusCode)"
    }
}

Send-Report 'start'
$global:LASTEXITCODE = 0
try {
    & { your-job } *>&1 | Tee-Object -Variable Output
    Send-Report "$LASTEXITCODE" ($Output | Out-String)
} catch {
    Send-Report '1' (($Output | Out-String) + ($_ | Out-String))
    throw
}
exit $LASTEXITCODE
