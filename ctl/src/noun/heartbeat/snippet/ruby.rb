# Tells the heartbeat {{NAME}} of a job: the start, success, or what went wrong. Standard library only.
require "net/http"
require "securerandom"
require "uri"

PING_URL = {{PING_URL}}

# Sends one ping, with retries. A heartbeat that cannot be told must not fail the job.
def tell(report, run_id, body = "")
  uri = URI("#{PING_URL}/#{report}?rid=#{run_id}")
  [1, 2, 4, 8, 0].each do |pause|
    begin
      options = { use_ssl: uri.scheme == "https", open_timeout: 10, read_timeout: 10, max_retries: 0 }
      answer = Net::HTTP.start(uri.host, uri.port, **options) do |http|
        http.post(uri.request_uri, body.byteslice(-10_000, 10_000) || body, "Content-Type" => "text/plain")
      end
      return if answer.is_a?(Net::HTTPSuccess)
      warn "heartbeat: #{answer.code}"
      return if answer.code.to_i < 500 && ![408, 429].include?(answer.code.to_i)
    rescue SystemCallError, SocketError, IOError, Timeout::Error, OpenSSL::SSL::SSLError => error
      warn "heartbeat: #{error.class}"
    end
    sleep pause
  end
end

def heartbeat
  run_id = SecureRandom.uuid
  tell("start", run_id)
  begin
    result = yield
  rescue Exception => error
    tell("1", run_id, error.full_message(highlight: false)) unless error.is_a?(SystemExit) && error.success?
    tell("0", run_id) if error.is_a?(SystemExit) && error.success?
    raise
  end
  tell("0", run_id)
  result
end

heartbeat do
  # your job
end
