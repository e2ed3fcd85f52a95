//! Safetensors files written by hand, so that they can be wrong.

use serde_json::{Value, json};

/// A safetensors file in the making.
#[derive(Default)]
pub struct TensorFile {
    /// Entries of the header; a name may stand here twice.
    pub header: Vec<(String, Value)>,
    pub data: Vec<u8>,
}

impl TensorFile {
    /// Appends a tensor, with the entry that belongs to it.
    pub fn add(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let start = self.data.len();
        self.data.extend(bytes);
        let entry = json!({
            "dtype": dtype, "shape": shape, "data_offsets": [start, self.data.len()],
        });
        self.header.push((name.to_owned(), entry));
    }

    /// The file: eight bytes of length, the header, the data.
    pub fn bytes(&self) -> Vec<u8> {
        let entries: Vec<String> = self
            .header
            .iter()
            .map(|(name, entry)| format!("{}:{entry}", Value::from(name.as_str())))
            .collect();
        let header = format!("{{{}}}", entries.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.into_bytes());
        file.extend(&self.data);
        file
    }
}
