"""The Flask receiver of SoundHash's documentation, unchanged except for the secret."""

from flask import Flask, request
import hmac
import hashlib

app = Flask(__name__)

@app.route('/webhooks/soundhash', methods=['POST'])
def handle_webhook():
    # Verify signature
    signature = request.headers.get('X-Webhook-Signature')
    secret = 'whsec_test'

    computed_signature = hmac.new(
        secret.encode(),
        request.data,
        hashlib.sha256
    ).hexdigest()

    if not hmac.compare_digest(signature, computed_signature):
        return 'Invalid signature', 401

    # Process event
    event = request.json
    event_type = event['event']

    if event_type == 'video.processed':
        video = event['data']
        print(f"Video processed: {video['title']}")

    return '', 200
