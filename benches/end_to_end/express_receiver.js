// The Express receiver of SoundHash's documentation, unchanged except for the secret and the port.

const express = require('express');
const crypto = require('crypto');

const app = express();

// Use express.raw() for webhook route to preserve original body for signature verification
app.post('/webhooks/soundhash', express.raw({ type: 'application/json' }), (req, res) => {
  // Verify signature using raw body
  const signature = req.headers['x-webhook-signature'];
  const secret = 'whsec_test';

  const computedSignature = crypto
    .createHmac('sha256', secret)
    .update(req.body)  // req.body is a Buffer with raw bytes
    .digest('hex');

  if (signature !== computedSignature) {
    return res.status(401).send('Invalid signature');
  }

  // Parse JSON body after verifying signature
  const { event, data } = JSON.parse(req.body.toString('utf8'));

  if (event === 'video.processed') {
    console.log(`Video processed: ${data.title}`);
  }

  res.status(200).send();
});

app.listen(process.env.PORT);
