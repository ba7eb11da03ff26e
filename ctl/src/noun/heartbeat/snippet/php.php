<?php
// Tells the heartbeat {{NAME}} of a job: the start, success, or what went wrong. No extensions.

const RETRY_PAUSES = [1, 2, 4, 8, 0];
$ping_url = {{PING_URL}};

// Sends one ping, with retries. A heartbeat that cannot be told must not fail the job.
function tell(string $ping_url, string $report, string $run_id, string $body = ''): void
{
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => 'Content-Type: text/plain',
        'content' => substr($body, -10000),
        'timeout' => 10,
        'ignore_errors' => true,
    ]]);
    foreach (RETRY_PAUSES as $pause) {
        $http_response_header = [];
        @file_get_contents("$ping_url/$report?rid=$run_id", false, $context);
        $status = (int) (explode(' ', $http_response_header[0] ?? '')[1] ?? 0);
        if ($status >= 200 && $status < 300) {
            return;
        }
        error_log('heartbeat: ' . ($status ?: 'no answer'));
        if ($status >= 300 && $status < 500 && $status !== 408 && $status !== 429) {
            return;
        }
        sleep($pause);
    }
}

function heartbeat(string $ping_url, callable $job): mixed
{
    $bytes = random_bytes(16);
    $bytes[6] = chr(ord($bytes[6]) & 0x0f | 0x40);
    $bytes[8] = chr(ord($bytes[8]) & 0x3f | 0x80);
    $run_id = vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex($bytes), 4));
    tell($ping_url, 'start', $run_id);
    try {
        $result = $job();
    } catch (Throwable $error) {
        tell($ping_url, '1', $run_id, (string) $error);
        throw $error;
    }
    tell($ping_url, '0', $run_id);
    return $result;
}

heartbeat($ping_url, function () {
    // your job
});
