<?php
// Reads and publishes with PHP's extension curl.
//
//   php client.php read URL [ID]   prints each event as a line of JSON, {id, event, data}; {"event": "open"} is a connection
//   php client.php publish URL     publishes each line of JSON text that it reads, and prints each answer as a line

function say(mixed $what): void
{
    fwrite(STDOUT, json_encode($what, JSON_THROW_ON_ERROR) . "\n");
}

/** A stream of events, whose bytes come in pieces. */
final class Events
{
    public int $retry_ms = 1000;
    private string $rest = '';
    private string $event = '';
    private array $data = [];

    public function __construct(public ?string $last_id)
    {
    }

    /** Forgets what a connection has left unfinished. */
    public function begin(): void
    {
        [$this->rest, $this->event, $this->data] = ['', '', []];
    }

    public function feed(string $bytes): void
    {
        $lines = explode("\n", $this->rest . $bytes);
        $this->rest = array_pop($lines);
        foreach ($lines as $line) {
            $this->line($line);
        }
    }

    private function line(string $line): void
    {
        if ($line === '') {
            if ($this->data) {
                $data = implode("\n", $this->data);
                say(['id' => $this->last_id, 'event' => $this->event ?: 'message', 'data' => $data]);
            }
            [$this->event, $this->data] = ['', []];
            return;
        }
        [$name, $value] = explode(':', $line, 2) + [1 => ''];
        $value = str_starts_with($value, ' ') ? substr($value, 1) : $value;
        match ($name) {
            'id' => $this->last_id = $value,
            'event' => $this->event = $value,
            'data' => $this->data[] = $value,
            'retry' => $this->retry_ms = (int) $value,
            default => null,
        };
    }
}

function read(string $url, ?string $last_id = null): never
{
    $events = new Events($last_id);
    while (true) {
        $events->begin();
        $curl = curl_init($url);
        curl_setopt_array($curl, [
            CURLOPT_HTTPHEADER => $events->last_id === null ? [] : ["Last-Event-ID: $events->last_id"],
            CURLOPT_FAILONERROR => true,
            CURLOPT_HEADERFUNCTION => function ($curl, string $line): int {
                if (str_starts_with($line, 'HTTP/') && str_contains($line, ' 200')) {
                    say(['event' => 'open']);
                }
                return strlen($line);
            },
            CURLOPT_WRITEFUNCTION => function ($curl, string $bytes) use ($events): int {
                $events->feed($bytes);
                return strlen($bytes);
            },
        ]);
        curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status >= 400 && $status < 500) {
            throw new Exception("$status: " . curl_error($curl));
        }
        usleep($events->retry_ms * 1000);
    }
}

function publish(string $url): void
{
    $curl = curl_init($url);
    while (($line = fgets(STDIN)) !== false) {
        curl_setopt_array($curl, [
            CURLOPT_POSTFIELDS => json_decode($line, flags: JSON_THROW_ON_ERROR),
            CURLOPT_RETURNTRANSFER => true,
        ]);
        $body = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status !== 200) {
            throw new Exception("$status: " . ($body ?: curl_error($curl)));
        }
        say(json_decode($body, flags: JSON_THROW_ON_ERROR));
    }
}

[, $verb] = $argv;
$verb(...array_slice($argv, 2));
